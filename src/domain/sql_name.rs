//! Names of SQL that need no quoting: lower-case, so that they mean the same with and without quotes.

/// Of a schema, a table or a column.
pub fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    let rest = characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    first && rest && text.len() <= 63 && !text.starts_with("pg_")
}

/// A table, with or without its schema.
pub fn is_table(text: &str) -> bool {
    let mut parts = text.split('.');
    (1..=2).contains(&parts.clone().count()) && parts.all(is_name)
}

/// An identifier as it stands in SQL, whatever it holds (PostgreSQL documentation, "Identifiers and Key Words").
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The same of a table, with or without its schema.
pub fn quoted_table(table: &str) -> String {
    table.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_quoting() {
        for good in ["callspool", "_a1"] {
            assert!(is_name(good));
        }
        for bad in ["", "Pg", "pg_x", "a-b", "a\"b", "1a", "a b", "a.b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn no_name_can_become_sql() {
        assert_eq!(quoted("a\" or 1"), "\"a\"\" or 1\"");
        assert_eq!(quoted_table("crm.leads"), "\"crm\".\"leads\"");
    }

    #[test]
    fn a_table_may_have_a_schema() {
        for good in ["leads", "crm.leads"] {
            assert!(is_table(good));
        }
        for bad in ["", ".", "crm.", "a.b.c", "Crm.leads"] {
            assert!(!is_table(bad), "{bad}");
        }
    }
}
