//! `callspool demo`.

use super::exit::Exit;
use crate::app::{self, DemoOptions};
use clap::Args;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Recordings that are moved
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    recordings: u32,
    /// Businesses that they belong to; the first is noisy
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    businesses: u32,
    /// Stay up when everything is stored
    #[arg(long)]
    keep: bool,
}

pub fn demo(&DemoArgs { recordings, businesses, keep }: &DemoArgs) -> anyhow::Result<Exit> {
    app::demo(&DemoOptions { recordings, businesses, keep }).map(|()| Exit::Done)
}
