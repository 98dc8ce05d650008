package origin

// Words are the words.
var Words = words[:]
