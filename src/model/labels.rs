//! The dimensions of a series beside its step: `level=2`, `phase=overload`, `stage=violations`.

use std::sync::Arc;

use super::Name;

/// Dimensions with their values, sorted by dimension, each dimension once. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Option<Arc<[(Name, Name)]>>);

impl Labels {
    /// One dimension.
    pub fn one(dimension: impl Into<Name>, value: impl Into<Name>) -> Self {
        Self::default().with(dimension, value)
    }

    /// These and one more; a dimension that is there already gets the new value.
    #[must_use]
    pub fn with(&self, dimension: impl Into<Name>, value: impl Into<Name>) -> Self {
        let dimension = dimension.into();
        let mut all: Vec<(Name, Name)> = self.iter().filter(|(name, _)| *name != dimension).cloned().collect();
        let place = all.partition_point(|(name, _)| *name < dimension);
        all.insert(place, (dimension, value.into()));
        Self(Some(all.into()))
    }

    /// These and all of `other`, whose values win.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        other.iter().fold(self.clone(), |all, (dimension, value)| all.with(dimension.clone(), value.clone()))
    }

    /// The value of a dimension.
    pub fn get(&self, dimension: &str) -> Option<&Name> {
        self.iter().find(|(name, _)| &**name == dimension).map(|(_, value)| value)
    }

    /// In order of dimensions.
    pub fn iter(&self) -> impl Iterator<Item = &(Name, Name)> {
        self.0.iter().flat_map(|labels| labels.iter())
    }

    /// Whether they are a clone of `other`; equal ones may still not be.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_unique() {
        let labels = Labels::one("stage", "a").with("level", "1").with("stage", "b");
        let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["level=1", "stage=b"]);
        assert_eq!(labels, Labels::one("level", "1").and(&Labels::one("stage", "b")));
        assert_eq!(labels.get("stage").map(|value| &**value), Some("b"));
        assert_eq!((labels.get("phase"), Labels::default().is_empty()), (None, true));
    }
}
