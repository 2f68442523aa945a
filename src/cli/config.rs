//! `callspool config show|check`: what is in force, and where each value came from.

use super::{
    exit::Exit,
    output::{self, Format, or_dash},
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
            let mut table = output::table(&["KEY", "VALUE", "FROM"]);
            for value in effective {
                table.add_row([
                    value.key.to_owned(),
                    or_dash(value.value.as_ref()),
                    or_dash(value.origin.as_ref()),
                ]);
            }
            output::line(&table.trim_fmt())?;
        }
        ConfigCommand::Check => output::line("the configuration can be used")?,
    }
    Ok(Exit::Done)
}
