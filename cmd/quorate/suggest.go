package main

import "strings"

// nearest returns the candidate that the user most likely meant by word: one that begins
// with it, or the one with the fewest typing errors, but no more than one in three
// letters (at least two). Of equals the first counts.
func nearest(word string, candidates []string) (string, bool) {
	word = strings.ToLower(word)
	best, found := max(2, len(word)/3)+1, ""
	for _, c := range candidates {
		d := typingErrors(word, c)
		if len(word) >= 3 && strings.HasPrefix(c, word) {
			d = min(d, 1)
		}
		if d < best {
			best, found = d, c
		}
	}
	return found, found != ""
}

// typingErrors is the Damerau-Levenshtein distance in its simple form: letters missing,
// added or wrong, and neighbours exchanged.
func typingErrors(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			wrong := 1
			if a[i-1] == b[j-1] {
				wrong = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+wrong)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
