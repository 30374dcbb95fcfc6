// Package document makes what a document shows from what a program does: tables that stand
// between two comments, and pictures in files beside it. A test makes them again and wants
// them as they are; a make target writes them.
package document
