"""What to answer?"""
