"""Published logs, downloaded and unpacked."""
