//! The texts of another language without their keys, which the English ones have already: their values in the order of
//! those, and behind them, as an object, what English has no text for.

use std::collections::BTreeMap;

/// `texts` as it is sent; both as [`super::lean::lean_js`] leaves them. A text that is missing is an empty one, and a test
/// does not let it come to that.
pub fn without_keys(texts: &str, english: &str) -> String {
    let mut ours: BTreeMap<&str, &str> = entries(texts).into_iter().collect();
    let mut sent = String::from("export default[");
    for (key, _) in entries(english) {
        sent.push_str(ours.remove(key).unwrap_or("''"));
        sent.push(',');
    }
    sent.push('{');
    for (key, value) in ours {
        sent.push_str(key);
        sent.push(':');
        sent.push_str(value);
        sent.push(',');
    }
    sent.push_str("}];\n");
    sent
}

/// Keys and values as they are written: `key:'text'`, `'a.key':{one:'text',other:'texts'}`.
fn entries(texts: &str) -> Vec<(&str, &str)> {
    let inside = texts.split_once('{').map_or("", |(_, inside)| inside);
    let (mut entries, mut key, mut from) = (Vec::new(), None, 0);
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (at, c) in inside.char_indices() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
            }
            None => match c {
                '\'' | '"' | '`' => quote = Some(c),
                ':' if depth == 0 && key.is_none() => {
                    key = Some(inside[from..at].trim());
                    from = at + 1;
                }
                ',' if depth == 0 => {
                    entries.extend(key.take().map(|key| (key, inside[from..at].trim())));
                    from = at + 1;
                }
                '{' => depth += 1,
                '}' if depth == 0 => {
                    entries.extend(key.take().map(|key| (key, inside[from..at].trim())));
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            },
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_the_order_of_the_english_ones() {
        let english = "export default{a:'A, b: c','b.c':{one:'{n} x',other:'y'},d:'it\\'s',};\n";
        let other = "export default{'b.c':{one:'1'},d:\"ד: ה\",'only.here':'x',a:'א',};\n";
        assert_eq!(without_keys(other, english), "export default['א',{one:'1'},\"ד: ה\",{'only.here':'x',}];\n");
        assert_eq!(without_keys("export default{};", english), "export default['','','',{}];\n");
    }

    #[test]
    fn every_text_is_there_in_hebrew() {
        let lean = |text| super::super::lean::lean_js(text);
        let (english, hebrew) = (lean(include_str!("assets/en.js")), lean(include_str!("assets/he.js")));
        let ours: BTreeMap<&str, &str> = entries(&hebrew).into_iter().collect();
        let missing: Vec<&str> =
            entries(&english).into_iter().map(|(key, _)| key).filter(|key| !ours.contains_key(key)).collect();
        assert!(missing.is_empty() && ours.len() > 200, "{missing:?}");
    }
}
