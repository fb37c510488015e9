"""Reads conversations from files of mistral-chat, ChatGPT, oterm and llm."""
