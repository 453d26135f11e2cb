"""Is somebody speaking?"""
