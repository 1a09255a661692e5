"""The engine: baton, virtual time, mailboxes, locks, policies, drivers. It knows no memory."""
