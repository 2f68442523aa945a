//! Medians and the like. All of them of a copy: the order of what was measured is kept.

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// 0 where there is nothing.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let values = sorted(values);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = (last as f64 * q).round() as usize;
    values[at.min(last)]
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

pub fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// The first and the last third, of which a run that changes nothing is made alike.
pub fn thirds(values: &[f64]) -> (&[f64], &[f64]) {
    let third = values.len().div_ceil(3);
    (&values[..third.min(values.len())], &values[values.len() - third.min(values.len())..])
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
pub fn float(count: i64) -> f64 {
    count as f64
}
