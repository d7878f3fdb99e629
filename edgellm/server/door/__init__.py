"""Who comes in, and how much with them.

`connections` bounds how many there are and what is waited for, `lingering` is how they end where
somebody still sends, `framing` what HTTP may look like, `strangers` what is said to what is none.
`tls` is the handshake before all that, `certificate` what it stands on.
`access` says whom a request comes from and whether it may, `origins` what web pages may; `patience`
how long a body may take, `bodies` how much memory all of them have. `gate` lets requests in while
it isn't too hot, `quotas` while their key has anything left. `terms` are what all of that is set
to.
"""
