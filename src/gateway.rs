//! Assembly: the immutable snapshot and the one decision.
