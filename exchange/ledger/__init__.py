"""The ledger: accounts, fills and settlements in PostgreSQL, a projection of the journal.

migrations/   the schema, plain SQL          migrate    the runner that applies it
accounts      which accounts there are       rows       a batch of events → rows to write
writer        one batch, one transaction     main       its process: follows the event files
fold          the same rows by the plain definition, from the journal
verify        compares the two
"""
