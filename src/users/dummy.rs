//! The hash that is checked for users who do not exist, where what is usual changes while we run.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::random::Random;
use crate::users::password::{Cost, PasswordHash, PasswordHashError};

/// A hash that nothing matches, of the cost that is usual at the moment. It is made anew only when that changes.
#[derive(Debug, Default)]
pub struct Dummy(Mutex<Option<Arc<PasswordHash>>>);

impl Dummy {
    /// The dummy of this cost.
    ///
    /// # Errors
    /// [`PasswordHashError`] when a new one is needed and there is no randomness for it.
    pub fn of(
        &self,
        cost: Cost,
        random: &dyn Random,
    ) -> Result<Arc<PasswordHash>, PasswordHashError> {
        let mut kept = self.0.lock();
        if let Some(dummy) = kept.as_ref().filter(|dummy| dummy.cost() == cost) {
            return Ok(Arc::clone(dummy));
        }
        let dummy = Arc::new(PasswordHash::unmatchable(cost, random)?);
        *kept = Some(Arc::clone(&dummy));
        Ok(dummy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn a_dummy_is_made_anew_only_when_another_cost_is_usual() {
        let dummy = Dummy::default();
        let of = |cost| dummy.of(cost, &OsRandom).unwrap();
        let (bcrypt, argon2id) = (Cost::Bcrypt { exponent: 4 }, Cost::default());
        let first = of(bcrypt);
        assert_eq!(first.cost(), bcrypt);
        assert!(Arc::ptr_eq(&first, &of(bcrypt)));
        assert_eq!(of(argon2id).cost(), argon2id);
        assert!(!Arc::ptr_eq(&first, &of(bcrypt)));
    }
}
