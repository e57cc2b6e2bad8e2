//! The pages that a person opens, at `/dashboard`: written on the server, readable without scripts, and doing nothing that
//! the API does not: they call its functions, behind its guards, and leave the same lines in the audit log.
