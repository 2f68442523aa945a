//! The demo: a simulated Twilio that misbehaves, the calls that it reports by real webhooks, and an independent check
//! of what came of them. What stands between the two is an ordinary process, put together in `app`.
//!
//! | file | what it holds |
//! |---|---|
//! | `scenario` | which recordings there are, the same again after a `kill -9` |
//! | `media` | their bytes: real MP3 and WAV, made from a number |
//! | `twilio` | the provider: media that comes late, not yet, too often, cut, called what it is not, or not at all behind a page |
//! | `caller` | the provider's webhooks, signed |
//! | `report` | looks at the files, compares, and draws the closing table |

mod caller;
mod media;
mod report;
mod scenario;
mod twilio;

pub use caller::Caller;
pub use report::{Report, Watch};
pub use scenario::{Recording, Scenario, ScenarioError};
pub use twilio::{Credentials, SimulatedTwilio};
