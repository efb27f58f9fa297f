"""What finds damage and proves health; read-only: collect(target) -> data, judge(data) -> findings."""
