//! The man page and the completions: whole, and understood by the programs that read them.

use crate::support::{Database, process::Setup};
use std::process::Stdio;
use tokio::{io::AsyncWriteExt, process::Command};

/// Every command of the contract.
const COMMANDS: [&str; 20] = [
    "run",
    "demo",
    "enqueue",
    "jobs list",
    "jobs show",
    "jobs explain",
    "jobs retry",
    "jobs cancel",
    "businesses list",
    "businesses show",
    "businesses set",
    "migrate run",
    "migrate status",
    "migrate plan",
    "migrate wait",
    "migrate baseline",
    "migrate new",
    "status",
    "config show",
    "config check",
];

/// A command that needs neither a database nor a configuration.
fn setup() -> Setup {
    Setup::new(&Database { url: "nonsense".to_owned() }).var("RUN_MIGRATIONS", "nonsense")
}

/// What `program` says on both streams about `input`; `None` where it is not installed.
async fn judged(program: &str, arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let ((), output) = tokio::join!(
        async {
            stdin.write_all(input.as_bytes()).await.unwrap();
            drop(stdin);
        },
        child.wait_with_output()
    );
    let output = output.unwrap();
    Some((output.status.success(), String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_scripts_that_their_shells_understand_and_know_every_command() {
    let setup = setup();
    for (shell, check) in [
        ("bash", Some(["bash", "-n"])),
        ("zsh", Some(["zsh", "-n"])),
        ("fish", Some(["fish", "--no-execute"])),
        ("elvish", None),
        ("powershell", None),
    ] {
        let said = setup.say(&["completions", shell]).await;
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{shell}");
        for word in COMMANDS.iter().flat_map(|command| command.split(' ')) {
            assert!(said.out.contains(word), "{shell} does not know {word}");
        }
        assert!(said.out.contains("recording-url") && said.out.contains("max-slots"), "{shell}");
        if let Some([program, flag]) = check
            && let Some((success, complaints)) = judged(program, &[flag], &said.out).await
        {
            assert!(success && complaints.is_empty(), "{shell}: {complaints}");
        }
    }
    assert_eq!(setup.say(&["completions", "cmd"]).await.code, 2);
}

/// What bash offers after `line`, by the script itself.
#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_a_command_below_a_command() {
    let script = setup().say(&["completions", "bash"]).await.out;
    let ask = "COMP_WORDS=(callspool jobs re); COMP_CWORD=2; _callspool callspool re jobs; echo \"offers:${COMPREPLY[*]}\"";
    let (success, said) = judged("bash", &["--norc"], &format!("{script}\n{ask}\n")).await.unwrap();
    assert!(success && said.contains("offers:retry"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_man_page_has_every_command_and_is_set_without_a_warning() {
    let page = setup().say(&["man"]).await;
    assert_eq!((page.code, page.err.as_str()), (0, ""));
    for section in ["NAME", "SYNOPSIS", "OPTIONS", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"] {
        assert!(page.out.contains(&format!(".SH {section}")), "{section} is not in:\n{}", page.out);
    }
    for command in COMMANDS {
        let section = format!(".SH \"CALLSPOOL {}\"", command.to_uppercase());
        assert!(page.out.contains(&section), "{section} is not in:\n{}", page.out);
    }
    if let Some((success, warnings)) = judged("groff", &["-man", "-ww", "-z", "-Kutf8"], &page.out).await {
        assert!(success && warnings.is_empty(), "{warnings}");
    }
    if let Some((success, warnings)) = judged("mandoc", &["-T", "lint", "-W", "warning"], &page.out).await {
        assert!(success, "{warnings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_gets_a_page_for_each_command() {
    let (setup, dir) = (setup(), tempfile::tempdir().unwrap());
    let pages = dir.path().join("man1");
    let said = setup.say(&["man", "--dir", pages.to_str().unwrap()]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for command in COMMANDS {
        let name = format!("callspool-{}", command.replace(' ', "-"));
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        let shown = name.replace('-', "\\-");
        assert!(page.contains(&shown) && page.contains(".SH SYNOPSIS") && page.contains(".SH OPTIONS"), "{page}");
        if let Some((success, warnings)) = judged("groff", &["-man", "-ww", "-z", "-Kutf8"], &page).await {
            assert!(success && warnings.is_empty(), "{name}: {warnings}");
        }
    }
    assert!(pages.join("callspool.1").is_file() && said.out.lines().count() > COMMANDS.len());
    let said = setup.say(&["man", "--dir", "/proc/nowhere"]).await;
    assert!(said.code == 1 && said.err.contains("cannot be written to") && said.err.contains("next: "), "{said:?}");
}
