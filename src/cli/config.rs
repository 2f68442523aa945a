//! `callspool config show|check`: what is in force, and where each value came from.

use super::{
    exit::Exit,
    output::{self, Format, or_dash},
    table::{Column, Table},
};
use crate::settings::Effective;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every key with its value and where it came from; secrets are masked
    Show(Format),
    /// Exit with 0 when the configuration can be used, else with 78 and all its faults
    Check,
}

/// The configuration was checked when it was loaded: one that cannot be used never comes here.
pub fn config(command: &ConfigCommand, effective: &Effective) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Show(Format { json: true }) => output::json(effective)?,
        ConfigCommand::Show(Format { json: false }) => {
            let mut table = Table::new([Column::whole("KEY"), Column::text("VALUE"), Column::text("FROM")]);
            for value in effective {
                table.row([value.key.clone(), or_dash(value.value.as_ref()), or_dash(value.origin.as_ref())]);
            }
            table.print()?;
        }
        ConfigCommand::Check => output::line("the configuration can be used")?,
    }
    Ok(Exit::Done)
}
