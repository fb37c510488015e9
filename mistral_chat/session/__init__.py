"""Live conversations without a screen: sessions, the loaded model, and saving in the background."""
