"""One act each, retryable: preserve, snapshot, reinstall, restore, repair files, notify, report."""
