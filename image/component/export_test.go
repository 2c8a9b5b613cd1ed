package component

// FindSum is findSum.
var FindSum = findSum
