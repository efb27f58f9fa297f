"""Journal stores: where the truth of an incident lies.

base       the seam: `JournalStore`, `Lease`
names      the grammar of ids and paths; nothing leaves the store's folder
sealed     a record or a head as signed canonical bytes, and back
directory  `DirectoryJournal`: a folder (the default)
leases     fencing tokens and expiry in that folder
verify     the offline verifier: public keys and files, nothing else
"""
