//! Distribution policy.
