//! Configuration: raw values from files and variables, checked all at once, become [`Settings`].
//!
//! [`keys`] is the table of everything that can be set; [`layers`] gathers raw values with their origin; [`kind`] checks
//! one value; [`accounts`] reads the sections of the provider's accounts; [`checked`] holds the values that passed,
//! [`rules`] what has to hold between them, and [`assembled`] makes of them what the rest of the program sees, [`typed`].

mod accounts;
mod assembled;
mod bucket_options;
mod checked;
mod keys;
mod kind;
mod layers;
mod load;
mod rules;
mod typed;

pub use keys::markdown_table;
pub use layers::Vars;
pub use load::{Effective, EffectiveValue, SettingsError};
pub use typed::{
    AudioSettings, DatabaseSettings, Environment, HttpSettings, LogFormat, LogSettings, MigrationSettings, Pooler,
    QueueSettings, RecordingSettings, Role, Roles, Rotation, Settings, ShutdownSettings, StorageSettings,
    SupervisionSettings, TelemetrySettings, TelnyxSettings, TranscriptionSettings, TwilioSettings, WorkerSettings,
};
