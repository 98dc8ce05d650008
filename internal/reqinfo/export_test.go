package reqinfo

// Words are the words.
var Words = words[:]
