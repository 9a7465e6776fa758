"""The OpenAI-compatible server: HTTP matters only. What answers the chats is any object of `chat_model.ChatModel`."""
