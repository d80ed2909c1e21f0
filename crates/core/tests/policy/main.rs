//! The distribution policy: what every operator means, what has no answer, what is refused, and that nothing panics.

mod documentation;
mod errors;
mod explanations;
mod facts;
mod limits;
mod operators;
mod random;
mod unanswered;
