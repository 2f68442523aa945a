//! The edges of the process: the provider, the lookup and the transcription service over HTTP, audio, object storage,
//! files, the clock, and the embedded PostgreSQL.

pub mod audio;
pub mod backfill_folder;
pub mod clock;
pub mod completion;
pub mod embedded_postgres;
pub mod lookup;
pub mod providers;
mod right;
pub mod storage;
pub mod telnyx;
pub mod transcription;
pub mod transport;
#[doc(hidden)]
pub mod tried;
pub mod twilio;
