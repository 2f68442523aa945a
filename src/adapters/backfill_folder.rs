//! The application's backfills on disk: `MIGRATIONS_DIR/backfills/*.sql`.

use crate::domain::{backfill::BackfillFile, ports::BackfillFiles};
use async_trait::async_trait;
use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Below `MIGRATIONS_DIR`, whose own files are the migrations.
const FOLDER: &str = "backfills";

#[derive(Debug, Clone)]
pub struct BackfillFolder(PathBuf);

impl BackfillFolder {
    pub fn new(migrations_dir: &Path) -> Self {
        Self(migrations_dir.join(FOLDER))
    }

    /// A folder that is missing is an empty one. Hidden files, and files of other kinds, are no backfills.
    async fn files(&self) -> io::Result<Vec<BackfillFile>> {
        let mut entries = match tokio::fs::read_dir(&self.0).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.extension().is_some_and(|extension| extension == "sql") && !name.starts_with('.') {
                files.push(BackfillFile { name, content: tokio::fs::read(path).await? });
            }
        }
        Ok(files)
    }
}

#[async_trait]
impl BackfillFiles for BackfillFolder {
    async fn read(&self) -> Result<Vec<BackfillFile>, String> {
        self.files().await.map_err(|error| format!("{FOLDER}/ cannot be read: {}", error.kind()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_visible_sql_files_are_backfills() {
        let migrations = tempfile::tempdir().unwrap();
        let folder = BackfillFolder::new(migrations.path());
        assert_eq!(folder.read().await, Ok(Vec::new()));
        let dir = migrations.path().join(FOLDER);
        std::fs::create_dir(&dir).unwrap();
        for name in ["a.sql", ".b.sql", "README.md"] {
            std::fs::write(dir.join(name), name).unwrap();
        }
        let expected = BackfillFile { name: "a.sql".into(), content: b"a.sql".to_vec() };
        assert_eq!(folder.read().await, Ok(vec![expected]));
    }
}
