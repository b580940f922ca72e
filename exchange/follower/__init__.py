"""The follower: a second copy of the market, fed by the journal, for all that answers no bid.

event_files   what happened, in files that the ledger writer and resumes read
collect       one round: records of the journal → one batch of events, names and money
redaction     what each party may see of an event, as a table
member_files  each member's own events, numbered 1, 2, …
door          members' private events over ZeroMQ
feeds         the public tape and the public book
aggregates    what a dashboard shows: counts and rolling medians
snapshot      the market at a position, for a quick start
status        metrics, health and digest over HTTP
core          the follower as one object: start, round, stop
main          its process
"""
