//! The resource server: may this request pass, and what does the upstream see.
