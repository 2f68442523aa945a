//! `callspool completions` and `callspool man`: made from the definition of the command line itself, so that neither
//! outlives a change of it.

use super::{Cli, exit::Exit, output};
use crate::app::OrNext;
use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that you use
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// One file a command, such as DIR/callspool-jobs-retry.1, instead of one page of all
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// For example `source <(callspool completions bash)`.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    // In memory first: what it writes to must not fail.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "callspool", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}

pub fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    match &args.dir {
        None => io::stdout().lock().write_all(&page_of_all(&root)?)?,
        Some(dir) => {
            let written =
                fs::create_dir_all(dir).map_err(anyhow::Error::from).and_then(|()| write_pages(&root, dir));
            let written = written.with_context(|| format!("{} cannot be written to", dir.display()));
            written.or_next(|| "name a folder that may be written to".to_owned())?;
        }
    }
    Ok(Exit::Done)
}

/// Every command below this one, and it, in the order of `--help`.
fn tree(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set());
    [command].into_iter().chain(below.flat_map(tree)).collect()
}

/// `callspool-jobs-retry`, which is how `man` finds `man callspool jobs retry`.
fn page_name(command: &Command) -> String {
    command.get_bin_name().unwrap_or("callspool").replace(' ', "-")
}

fn write_pages(root: &Command, dir: &Path) -> anyhow::Result<()> {
    for command in tree(root) {
        let name = page_name(command);
        let path = dir.join(format!("{name}.1"));
        let mut page = Vec::new();
        Man::new(command.clone().display_name(name)).render(&mut page)?;
        if command.get_bin_name() == root.get_bin_name() {
            page.extend(closing().as_bytes());
        }
        fs::write(&path, page)?;
        output::line(&path.display().to_string())?;
    }
    Ok(())
}

/// The head of the root's page, then each command's sections one level deeper.
fn page_of_all(root: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(root.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for command in tree(root).into_iter().skip(1).filter(|command| !command.has_subcommands()) {
        let name = command.get_bin_name().unwrap_or_default();
        // The options of all commands are told once, above.
        let own = command.clone().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
        let has_options = own.get_arguments().any(|arg| !arg.is_hide_set());
        let (man, mut sections) = (Man::new(own), Vec::new());
        man.render_synopsis_section(&mut sections)?;
        man.render_description_section(&mut sections)?;
        if has_options {
            man.render_options_section(&mut sections)?;
        }
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let sections = String::from_utf8_lossy(&sections);
        for line in sections.lines() {
            match line.strip_prefix(".SH ") {
                Some(title) => writeln!(page, ".SS {title}")?,
                None => writeln!(page, "{line}")?,
            }
        }
    }
    page.extend(closing().as_bytes());
    Ok(page)
}

/// What no definition of an argument says.
fn closing() -> String {
    let codes = [
        (Exit::Done, "Done."),
        (Exit::Failed, "Failed; the message says what to do next."),
        (Exit::Usage, "The arguments, or what was read, cannot be."),
        (Exit::Process(70), "Supervision gave up, or the drain did not end."),
        (Exit::TryAgain, "Try again: the migration lock was busy, or the schema does not fit yet."),
        (Exit::Configuration, "The configuration cannot be used."),
    ];
    let codes = codes.map(|(exit, text)| format!(".TP\n\\fB{}\\fR\n{text}\n", exit.code())).concat();
    format!(
        ".SH \"EXIT STATUS\"\n{codes}\
         .SH ENVIRONMENT\n\
         .TP\n\\fBDATABASE_URL\\fR\nThe PostgreSQL that all commands work on.\n\
         .TP\n\\fBNO_COLOR\\fR\nNo colour, also on a terminal.\n\
         .PP\nEvery key of the configuration has a variable; \\fBcallspool config show\\fR lists the keys, their values \
         and where each came from.\n\
         .SH FILES\n\
         .TP\n\\fIconfig/default.toml\\fR, \\fIconfig/<env>.toml\\fR\nThe configuration, in this order, before the \
         environment.\n"
    )
}
