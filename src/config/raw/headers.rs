//! What an upstream is sent of a client's fields, as it is written.

use serde::Deserialize;

use super::List;

section! {
    /// The fields of a request.
    RawUpstreamHeaders {
        /// Names that pass although only a proxy may set them, or although they have another byte than letters, digits and
        /// hyphens. Default: none.
        pass: List<String>,
    }
}
