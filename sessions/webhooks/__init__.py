"""Outgoing webhooks: events sent on to addresses that members name, at least once and in order.

The team's stream is the queue. A webhook has a place in it; behind that place lie, for each subject of which something
waits, a backlog with the number of the last event that was sent. So what is sent costs no row, an order holds for each
subject, and one that the receiver refuses holds up no other.
"""
