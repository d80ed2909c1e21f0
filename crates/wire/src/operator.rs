//! The operator API's bodies, shared by the server and the `updraft` verbs.
