"""The live conversation, without a screen: sessions, the loaded model, and saving beside the reply."""
