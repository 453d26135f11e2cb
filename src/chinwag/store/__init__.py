"""Saved conversations: tables, search and audio files. Plain data, without knowledge of sessions.

Everything here blocks and is called on a thread, except where a docstring says otherwise.
"""

from chinwag.store.conversation_store import ConversationStore
from chinwag.store.records import Role, SearchHit, StoredConversation, StoredItem, StoredSound

__all__ = ["ConversationStore", "Role", "SearchHit", "StoredConversation", "StoredItem", "StoredSound"]
