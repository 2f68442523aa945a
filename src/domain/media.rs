//! The forms in which a provider offers one recording, and which of them a business wants.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// Twilio documentation, "Recordings resource": fetch a recording's media file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// MP3; as many channels as the provider mixes it to.
    Mp3,
    /// WAV, mixed down.
    Wav,
    /// MP3 with a channel for each side of the call.
    Mp3Dual,
    /// WAV with a channel for each side of the call.
    WavDual,
    /// As the provider gives it when no form is named.
    Original,
}

impl Form {
    pub const ALL: [Self; 5] = [Self::Mp3, Self::Wav, Self::Mp3Dual, Self::WavDual, Self::Original];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::Mp3Dual => "mp3-dual",
            Self::WavDual => "wav-dual",
            Self::Original => "original",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("forms must be one or more of: mp3, wav, mp3-dual, wav-dual, original; each once")]
pub struct InvalidForms;

impl FromStr for Form {
    type Err = InvalidForms;

    fn from_str(text: &str) -> Result<Self, InvalidForms> {
        Self::ALL.into_iter().find(|form| form.as_str() == text).ok_or(InvalidForms)
    }
}

/// The wanted forms in order: the first that the provider has is taken. Never empty, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Vec<Form>", into = "Vec<Form>")]
#[schema(value_type = Vec<Form>)]
pub struct Forms(Vec<Form>);

impl Forms {
    pub fn new(forms: Vec<Form>) -> Result<Self, InvalidForms> {
        let is_repeated = |(place, form): (usize, &Form)| forms[..place].contains(form);
        if forms.is_empty() || forms.iter().enumerate().any(is_repeated) {
            Err(InvalidForms)
        } else {
            Ok(Self(forms))
        }
    }

    /// Of their names, as a setting, the command line and the database have them.
    pub fn parse<T: AsRef<str>>(names: &[T]) -> Result<Self, InvalidForms> {
        Self::new(names.iter().map(|name| name.as_ref().trim().parse()).collect::<Result<_, _>>()?)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Form> + '_ {
        self.0.iter().copied()
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(Form::as_str).collect()
    }
}

impl Default for Forms {
    fn default() -> Self {
        Self(vec![Form::Mp3])
    }
}

impl TryFrom<Vec<Form>> for Forms {
    type Error = InvalidForms;

    fn try_from(forms: Vec<Form>) -> Result<Self, InvalidForms> {
        Self::new(forms)
    }
}

impl From<Forms> for Vec<Form> {
    fn from(forms: Forms) -> Self {
        forms.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_some_and_each_once() {
        assert_eq!(Forms::parse(&["wav-dual", " mp3"]).map(|forms| forms.names()), Ok(vec!["wav-dual", "mp3"]));
        for wrong in [&[][..], &["mp3", "mp3"], &["ogg"], &[""]] {
            assert_eq!(Forms::parse(wrong), Err(InvalidForms), "{wrong:?}");
        }
    }
}
