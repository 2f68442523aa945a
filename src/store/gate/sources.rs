//! The migrations that we know.

use crate::domain::{
    migration::{MigrationFailure, MigrationSet, Version},
    migration_header::MigrationHeader,
};
use sqlx::migrate::{Migration, Migrator};
use std::path::Path;

/// Ours, in the binary. A file's number is its version.
static OURS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) set: MigrationSet,
    pub(super) migration: Migration,
    pub(super) header: MigrationHeader,
}

impl Source {
    pub(super) fn version(&self) -> Version {
        self.migration.version
    }

    pub(super) fn id(&self) -> (MigrationSet, Version) {
        (self.set, self.migration.version)
    }

    pub(super) fn sql(&self) -> &str {
        self.migration.sql.as_str()
    }
}

/// Versions of ours, in order.
pub(super) fn our_versions() -> impl Iterator<Item = Version> {
    OURS.iter().map(|migration| migration.version)
}

/// In order of version.
pub(super) fn ours() -> Result<Vec<Source>, MigrationFailure> {
    of_set(MigrationSet::Callspool, OURS.iter())
}

/// Those in `dir`, in order of version.
pub(super) async fn application(dir: &Path) -> Result<Vec<Source>, MigrationFailure> {
    let migrator = Migrator::new(dir).await.map_err(|error| {
        // The message may name the folder; a log names files only.
        let text = error.to_string().replace(&dir.display().to_string(), "MIGRATIONS_DIR");
        MigrationFailure::lasting(None, format!("the application's migrations cannot be read: {text}"))
    })?;
    of_set(MigrationSet::Application, migrator.iter())
}

/// Ours, then the application's.
pub(super) async fn all(application_dir: Option<&Path>) -> Result<Vec<Source>, MigrationFailure> {
    let mut sources = ours()?;
    if let Some(dir) = application_dir {
        sources.extend(application(dir).await?);
    }
    Ok(sources)
}

fn of_set<'a>(
    set: MigrationSet,
    migrations: impl Iterator<Item = &'a Migration>,
) -> Result<Vec<Source>, MigrationFailure> {
    let mut sources: Vec<Source> = Vec::new();
    for migration in migrations.filter(|migration| !migration.migration_type.is_down_migration()) {
        let id = Some((set, migration.version));
        if sources.last().is_some_and(|last| last.version() == migration.version) {
            return Err(MigrationFailure::lasting(id, "two files have this version"));
        }
        let header = MigrationHeader::parse(migration.sql.as_str())
            .map_err(|error| MigrationFailure::lasting(id, format!("its header, {error}")))?;
        sources.push(Source { set, migration: migration.clone(), header });
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ours_are_numbered_without_a_gap_and_read() {
        let versions: Vec<_> = all(None).await.unwrap().iter().map(Source::version).collect();
        assert!((1..).zip(&versions).all(|(number, version)| number == *version), "{versions:?}");
        // A new file alone does not make cargo build this crate again.
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
        assert_eq!(versions.len(), files, "built before a migration was added: touch this file");
    }

    #[tokio::test]
    async fn the_applications_are_read_in_order_of_version_and_faults_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        for (name, sql) in
            [("10_b.sql", "select 2"), ("9_a.sql", "-- callspool: retries=3\nselect 1"), ("notes.txt", "")]
        {
            std::fs::write(dir.path().join(name), sql).unwrap();
        }
        let sources = all(Some(dir.path())).await.unwrap();
        let application: Vec<_> = sources.iter().filter(|s| s.set == MigrationSet::Application).collect();
        assert_eq!(application.iter().map(|s| s.version()).collect::<Vec<_>>(), [9, 10]);
        assert_eq!(application[0].header.retries, Some(3));

        std::fs::write(dir.path().join("11_c.sql"), "-- callspool: retrys=3\n").unwrap();
        let failure = all(Some(dir.path())).await.unwrap_err();
        assert_eq!(failure.version(), Some(11));
        assert!(failure.reason.contains("line 1") && !failure.can_pass, "{failure}");

        std::fs::remove_file(dir.path().join("11_c.sql")).unwrap();
        std::fs::write(dir.path().join("10_again.sql"), "select 1").unwrap();
        let failure = all(Some(dir.path())).await.unwrap_err();
        assert!(failure.reason.contains("two files"), "{failure}");

        std::fs::write(dir.path().join("x_y.sql"), "select 1").unwrap();
        let failure = all(Some(dir.path())).await.unwrap_err();
        assert!(
            failure.reason.contains("x_y.sql") && !failure.reason.contains(dir.path().to_str().unwrap()),
            "{failure}"
        );
    }
}
