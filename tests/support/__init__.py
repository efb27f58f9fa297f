"""What several test folders share: servers, fakes, builders."""
