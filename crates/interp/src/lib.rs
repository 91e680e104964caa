//! The reference evaluator: walks a rule set rule by rule, as the kernel does.
