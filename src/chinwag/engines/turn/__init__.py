"""Have they finished?"""
