"""What people type: each command reads its options here and calls the rooms below."""
