//! The answer to a request that is refused.

use axum::http::StatusCode;

/// A status, and a sentence with the reason.
pub(crate) type Refusal = (StatusCode, String);

pub(crate) fn refusal(status: StatusCode, why: impl Into<String>) -> Refusal {
    (status, why.into() + "\n")
}
