//! A statement as its words: enough to see what it does and to which table.
//!
//! The parser's tokenizer reads, and its grammar is asked where structure counts (new columns, constraints, queries).
//! Much of what a migration does the grammar does not know (`REINDEX`, `CLUSTER`, `DROP INDEX CONCURRENTLY`,
//! `SET SCHEMA`, …), and what a keyword begins can be seen without it.

use crate::domain::text::clean;
use sqlparser::{
    ast::{AlterTableOperation, Ident, ObjectName, Statement},
    dialect::PostgreSqlDialect,
    keywords::Keyword,
    parser::Parser,
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};

/// The grammar builds trees as deep as a chain of operators is long, and a tree is taken down recursively.
const MAX_CHAIN: usize = 1000;

/// The tokens of a statement without white space and comments; none if the tokenizer cannot read it.
pub(super) fn tokens(text: &str) -> Option<Vec<TokenWithSpan>> {
    let mut tokenizer = Tokenizer::new(&PostgreSqlDialect {}, text).with_unescape(false);
    let mut tokens = tokenizer.tokenize_with_location().ok()?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Some(tokens)
}

/// What is still to be read of a statement. The methods that begin with `eat` go behind what they find.
#[derive(Clone, Copy)]
pub(super) struct Words<'t>(pub(super) &'t [TokenWithSpan]);

impl<'t> Words<'t> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Within the statement, from 0.
    pub(super) fn line(self) -> usize {
        self.0.first().map_or(0, |token| usize::try_from(token.span.start.line).unwrap_or(1).saturating_sub(1))
    }

    /// Whether these words come next: `"if not exists"`. One that is quoted is a name, not a keyword.
    pub(super) fn at(self, phrase: &str) -> bool {
        let mut rest = self;
        rest.eat(phrase)
    }

    /// All of the phrase or nothing.
    pub(super) fn eat(&mut self, phrase: &str) -> bool {
        let mut tokens = self.0;
        for expected in phrase.split(' ') {
            match tokens.split_first() {
                Some((token, rest)) if is(token, expected) => tokens = rest,
                _ => return false,
            }
        }
        self.0 = tokens;
        true
    }

    pub(super) fn eat_any<'p>(&mut self, phrases: &[&'p str]) -> Option<&'p str> {
        phrases.iter().copied().find(|phrase| self.eat(phrase))
    }

    /// The next word if it is not quoted, in lower case.
    pub(super) fn eat_word(&mut self) -> Option<String> {
        let (first, rest) = self.0.split_first()?;
        let Token::Word(word) = &first.token else { return None };
        self.0 = rest;
        word.quote_style.is_none().then(|| word.value.to_ascii_lowercase())
    }

    /// `orders`, `shop.orders`: as PostgreSQL folds it, so that two spellings of one name are equal.
    pub(super) fn eat_name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            let (first, rest) = self.0.split_first()?;
            let Token::Word(word) = &first.token else { return None };
            name.push_str(&folded(&word.value, word.quote_style.is_some()));
            self.0 = rest;
            match rest.split_first() {
                Some((dot, behind)) if dot.token == Token::Period => self.0 = behind,
                _ => return Some(name),
            }
            name.push('.');
        }
    }

    /// One or more names with commas between them; the arguments of a function go with its name.
    pub(super) fn eat_names(&mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        loop {
            self.eat("only");
            names.push(self.eat_name()?);
            self.eat_parentheses();
            match self.0.split_first() {
                Some((comma, rest)) if comma.token == Token::Comma => self.0 = rest,
                _ => return Some(names),
            }
        }
    }

    pub(super) fn eat_parentheses(&mut self) {
        if self.0.first().is_some_and(|token| token.token == Token::LParen) {
            let depths = depths(self.0);
            let end =
                depths.zip(self.0).skip(1).position(|(depth, token)| depth == 1 && token.token == Token::RParen);
            self.0 = end.map_or(&[], |end| &self.0[end + 2..]);
        }
    }

    /// Whether the phrase stands anywhere outside of parentheses.
    pub(super) fn has(self, phrase: &str) -> bool {
        let mut rest = self;
        rest.eat_until(phrase)
    }

    /// Goes behind the first such phrase outside of parentheses, or to the end.
    pub(super) fn eat_until(&mut self, phrase: &str) -> bool {
        let found = depths(self.0).enumerate().find(|(at, depth)| *depth == 0 && Self(&self.0[*at..]).at(phrase));
        self.0 = found.map_or(&[], |(at, _)| &self.0[at..]);
        self.eat(phrase)
    }

    /// The pieces between the commas that stand outside of parentheses.
    pub(super) fn between_commas(self) -> Vec<Self> {
        let commas = depths(self.0).zip(self.0).enumerate();
        let commas = commas.filter(|(_, (depth, token))| *depth == 0 && token.token == Token::Comma);
        let mut pieces = Vec::new();
        let mut from = 0;
        for at in commas.map(|(at, _)| at).chain([self.0.len()]) {
            pieces.push(Self(&self.0[from..at]));
            from = at + 1;
        }
        pieces
    }

    /// What a string literal that comes next says.
    pub(super) fn string(self) -> Option<&'t str> {
        self.0.first().and_then(|token| string_value(&token.token))
    }

    pub(super) fn has_string(self, value: &str) -> bool {
        self.0.iter().any(|token| string_value(&token.token) == Some(value))
    }

    /// Whether the word stands anywhere, in parentheses or not.
    pub(super) fn mentions(self, word: &str) -> bool {
        self.0.iter().any(|token| is(token, word))
    }

    /// The names that an opening parenthesis follows: functions, and types with a length.
    pub(super) fn called(self) -> impl Iterator<Item = String> {
        self.0.windows(2).filter(|pair| pair[1].token == Token::LParen).filter_map(|pair| match &pair[0].token {
            Token::Word(word) => Some(folded(&word.value, word.quote_style.is_some())),
            _ => None,
        })
    }

    pub(super) fn statement(self) -> Option<Statement> {
        self.parse(|parser| parser.parse_statement().ok())
    }

    pub(super) fn table_operation(self) -> Option<AlterTableOperation> {
        self.parse(|parser| parser.parse_alter_table_operation().ok())
    }

    /// The whole or nothing.
    fn parse<T>(self, read: impl FnOnce(&mut Parser) -> Option<T>) -> Option<T> {
        if longest_chain(self.0) > MAX_CHAIN {
            return None;
        }
        let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(self.0.to_vec());
        let parsed = read(&mut parser)?;
        (parser.peek_token().token == Token::EOF).then_some(parsed)
    }
}

/// Operators, also those that are words, each of which puts what came before one level deeper. A comma begins anew
/// for symbols, so that long lists of values stay readable.
fn longest_chain(tokens: &[TokenWithSpan]) -> usize {
    use Keyword::{AND, EXCEPT, INTERSECT, IS, JOIN, OR, UNION};
    let (mut words, mut symbols, mut longest) = (0, 0, 0);
    for token in tokens {
        match &token.token {
            Token::Word(word) if [AND, OR, UNION, INTERSECT, EXCEPT, IS, JOIN].contains(&word.keyword) => {
                words += 1;
            }
            Token::Comma => symbols = 0,
            Token::Word(_) | Token::Number(..) | Token::LParen | Token::RParen | Token::Period => {}
            other if string_value(other).is_some() => {}
            _ => symbols += 1,
        }
        longest = longest.max(words + symbols);
    }
    longest
}

/// How deep in parentheses each token stands; an opening one is outside of what it opens, a closing one inside.
fn depths(tokens: &[TokenWithSpan]) -> impl Iterator<Item = usize> {
    let mut depth = 0_usize;
    tokens.iter().map(move |token| {
        let here = depth;
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ => {}
        }
        here
    })
}

fn is(token: &TokenWithSpan, expected: &str) -> bool {
    match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected),
        Token::LParen => expected == "(",
        Token::Mul => expected == "*",
        _ => false,
    }
}

fn string_value(token: &Token) -> Option<&str> {
    match token {
        Token::SingleQuotedString(value) | Token::EscapedStringLiteral(value) => Some(value),
        _ => None,
    }
}

fn folded(name: &str, quoted: bool) -> String {
    if quoted { name.to_owned() } else { name.to_ascii_lowercase() }
}

/// A name of the grammar's as [`Words::eat_name`] has it.
pub(super) fn name_of(name: &ObjectName) -> String {
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    parts.map(|Ident { value, quote_style, .. }| folded(value, quote_style.is_some())).collect::<Vec<_>>().join(".")
}

/// The begin of a statement, for people: no literals (one may be a password), one line, at most 60 characters.
pub(super) fn first_words(text: &str) -> String {
    let end = text.find(['\'', '$', '(']).into_iter().chain(text.find("--")).chain(text.find("/*")).min();
    shortened(&text[..end.unwrap_or(text.len())])
}

/// A name from a script, fit for one line.
pub(super) fn shortened(text: &str) -> String {
    const MAX: usize = 60;
    let line = clean(text);
    if line.chars().count() <= MAX { line } else { line.chars().take(MAX - 1).chain(['…']).collect() }
}
