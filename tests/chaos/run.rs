//! One run: a fleet, its load, the plan, and the check.

use crate::{
    Arguments,
    attack::{Attack, Strike},
    attacks::Underway,
    checker::{Drain, attempts, files, limit, moment, rows},
    clock, plan, record,
    recordings::slots,
    recovery,
    report::{self, Report},
    support::PATIENCE,
    world::World,
};
use std::{collections::HashMap, path::Path, time::Duration};
use tokio::{task::JoinHandle, time::Instant};

/// Whether every promise was kept.
pub async fn run(arguments: &Arguments) -> bool {
    let seed = arguments.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-run-{seed}"));
    _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let only = if arguments.only.is_empty() { &Attack::ALL[..] } else { &arguments.only };
    let steps = plan::plan(seed, arguments.seconds, only);
    println!("seed {seed}: {} steps in about {} s", steps.len(), arguments.seconds);
    report::plan(&steps);
    if arguments.plan {
        return true;
    }
    let mut world = World::begin(seed, &folder).await;
    println!(
        "\na fleet of {} processes is ready; their logs are in {}\n",
        world.fleet.members.len(),
        folder.display()
    );
    let (began, mut report) = (Instant::now(), Report::default());
    let watching = tokio::spawn(world.watch.clone().look(world.sql.clone()));
    let calling = tokio::spawn(world.caller.clone().call_all());
    let limit = Duration::from_secs(arguments.seconds);
    for (number, step) in steps.iter().enumerate() {
        // Each attack once, however busy the machine is.
        let is_late = began.elapsed() >= limit && number >= only.len();
        if is_late || !report.is_clean() {
            break;
        }
        tokio::time::sleep(step.quiet).await;
        let possible: Vec<Strike> =
            step.strikes.iter().filter(|strike| is_possible(strike.attack, &world)).copied().collect();
        if possible.is_empty() {
            println!(
                "{:>4}  left out: {} needs {}",
                number + 1,
                step.strikes[0].attack,
                needs(step.strikes[0].attack)
            );
            continue;
        }
        let from = moment();
        match strike(&possible, &mut world).await {
            Ok(rescue) => {
                let recovered = recovery::wait(&mut world).await;
                report.step(number + 1, began.elapsed(), &possible, &recovered, rescue);
            }
            Err(error) => report.violation(format!("step {}: {error}", number + 1)),
        }
        if possible.iter().any(|strike| strike.attack == Attack::DiskFull) {
            world.full.push((from, moment()));
        }
        report.violations(world.fleet.ended_by_itself());
        report.violations(world.watch.broken());
    }
    let ran = began.elapsed();
    calling.abort();
    if report.is_clean() {
        finish(&mut world, &mut report, watching).await;
    }
    report.close();
    let is_clean = report.is_clean();
    if let Some(file) = &arguments.record {
        keep(file, &report.record(ran));
    }
    let World { fleet, nodes, sql, disk, .. } = world;
    sql.close().await;
    drop((fleet, disk));
    nodes.stop().await;
    if is_clean {
        std::fs::remove_dir_all(&folder).unwrap();
        println!("all promises were kept");
        return true;
    }
    let only: Vec<_> = arguments.only.iter().map(|attack| attack.name()).collect();
    let only = if only.is_empty() { String::new() } else { format!(" --only {}", only.join(",")) };
    println!("seed {seed}; logs in {}; again:", folder.display());
    println!("  cargo test --features faults --test chaos -- --seed {seed} --seconds {}{only}", arguments.seconds);
    false
}

fn is_possible(attack: Attack, world: &World) -> bool {
    match attack {
        Attack::DiskFull => world.disk.can_be_full(),
        Attack::Skew => clock::library().is_some(),
        _ => true,
    }
}

fn needs(attack: Attack) -> &'static str {
    if attack == Attack::DiskFull { "root, and a right to mount" } else { "libfaketime: sh .ci/setup.sh chaos" }
}

/// Begins them all, waits, and ends them all.
async fn strike(strikes: &[Strike], world: &mut World) -> Result<Option<u64>, String> {
    let mut underway = Vec::new();
    for strike in strikes {
        underway.push(Underway::begin(*strike, world).await?);
    }
    let mut rescued = None;
    // The shortest first.
    underway.sort_by_key(|attack| attack.strike.hold);
    let began = Instant::now();
    for attack in underway {
        tokio::time::sleep_until(began + attack.strike.hold).await;
        rescued = attack.end(world).await?.max(rescued);
    }
    Ok(rescued)
}

/// Lets the fleet finish its work, ends it in order, and looks at what came of it.
async fn finish(world: &mut World, report: &mut Report, watching: JoinHandle<()>) {
    println!("\nno more attacks; {} recordings were accepted", world.caller.ledger.count());
    if let Err(left) = all_over(world).await {
        report.violation(left);
    }
    let began = Instant::now();
    while !files::aside(&world.disk.folder).is_empty() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Whoever lives now is known before it says good-bye.
    let mut connection = world.sql.acquire().await.unwrap();
    world.watch.look_once(&mut connection).await.unwrap();
    watching.abort();
    report.violations(world.fleet.ended_by_itself());
    if !report.is_clean() {
        return;
    }
    for place in (0..world.fleet.members.len()).rev() {
        if let Err(wrong) = world.fleet.drain(place).await {
            report.violation(wrong);
        }
    }
    world.watch.look_once(&mut connection).await.unwrap();
    report.violations(world.watch.broken());
    check(world, report, &mut connection).await;
}

/// Until nothing is left, as long as it becomes less.
async fn all_over(world: &World) -> Result<(), String> {
    let (mut least, mut since) = (i64::MAX, Instant::now());
    while since.elapsed() < PATIENCE {
        let left: Result<i64, _> = sqlx::query_scalar("select count(*) from job").fetch_one(&world.sql).await;
        match left {
            Ok(0) => return Ok(()),
            Ok(left) if left < least => (least, since) = (left, Instant::now()),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("{least} jobs do not end"))
}

async fn check(world: &World, report: &mut Report, connection: &mut sqlx::PgConnection) {
    let fleet = &world.fleet;
    let (wanted, undone) = (world.caller.ledger.wanted(world.seed), world.caller.ledger.undone_sids(world.seed));
    let visits = world.provider.visits();
    report.violations(files::check(&world.disk.folder, &wanted));
    report.violations(rows::check(connection, &wanted, &undone).await.unwrap());
    report.violations(attempts::check_numbers(connection).await.unwrap());
    let ended = attempts::read(connection).await.unwrap();
    report.violations(attempts::check_storage(&ended, &world.full));
    let members: HashMap<String, String> = fleet
        .lives
        .iter()
        .filter_map(|(pid, name)| Some((world.watch.instance_of(*pid)?, (*name).to_owned())))
        .collect();
    let drains = fleet
        .drains
        .iter()
        .filter_map(|(pid, drain)| Some(Drain { instance: world.watch.instance_of(*pid)?, ..drain.clone() }));
    report.violations(attempts::check_drains(&ended, &drains.collect::<Vec<_>>(), &visits));
    let lost = attempts::lost_leases(&ended, &members);
    let counted = limit::check(&visits, slots, &lost, &fleet.windows, moment());
    report.violations(counted.violations);
    let peaks: Vec<_> = counted.peaks.iter().map(|(id, peak)| format!("{id}: {peak} of {}", slots(*id))).collect();
    println!(
        "{} looks at the law; {} downloads, at one time at most {}; {} leases were taken back, {} downloads went on after that",
        world.watch.looks(),
        visits.len(),
        peaks.join(", "),
        lost.len(),
        counted.held_by_frozen
    );
}

fn keep(file: &Path, ran: &record::Record) {
    let mut all = record::Record::read(file).unwrap();
    all.add(ran);
    all.write(file).unwrap();
    record::show(&file.with_file_name("promises.md"), &all).unwrap();
}
