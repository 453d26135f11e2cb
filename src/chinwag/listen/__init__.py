"""From sound to a turn: is it speech, what are the words so far, have they finished?"""
