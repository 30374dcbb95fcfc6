// Command protogen makes the Go files of our .proto files, without protoc: the compiler is a
// library and the plugins are tools of this module, so that one go.mod says the versions of
// all. `make proto` runs it, in the folder of this module.
//
//	go run ./protogen ROOT          writes
//	go run ./protogen -check ROOT   reports files that are not what it would write
//
// It takes every .proto file below ROOT, the folder that their imports are relative to.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are run in this order. Each writes beside the .proto file.
var plugins = []struct{ tool, parameter string }{
	{"protoc-gen-go", "paths=source_relative"},
	{"protoc-gen-go-grpc", "paths=source_relative"},
}

func main() {
	check := flag.Bool("check", false, "write nothing, fail if a file would change")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "protogen: name the folder of the .proto files: protogen [-check] ROOT")
		os.Exit(2)
	}
	if err := run(context.Background(), flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, check bool) error {
	files, err := sources(root)
	if err != nil {
		return err
	}
	descriptors, err := compile(ctx, root, files)
	if err != nil {
		return err
	}
	for _, p := range plugins {
		made, err := generate(ctx, p.tool, &pluginpb.CodeGeneratorRequest{
			FileToGenerate: files, Parameter: &p.parameter, ProtoFile: descriptors,
		})
		if err != nil {
			return err
		}
		for _, f := range made {
			if err := put(filepath.Join(root, filepath.FromSlash(f.GetName())), f.GetContent(), check); err != nil {
				return err
			}
		}
	}
	return nil
}

// sources lists the .proto files below a folder, in order, as imports name them.
func sources(root string) (files []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".proto" {
			return err
		}
		name, err := filepath.Rel(root, path)
		files = append(files, filepath.ToSlash(name))
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no .proto file below %s: name another folder", root)
	}
	return files, err
}

// compile returns the files' descriptors with their comments. Files may import each other
// and the standard ones; what they import comes first, as plugins want it.
func compile(ctx context.Context, root string, files []string) ([]*descriptorpb.FileDescriptorProto, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, files...)
	if err != nil {
		return nil, err
	}
	var list []*descriptorpb.FileDescriptorProto
	seen := make(map[string]bool)
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		list = append(list, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range compiled {
		add(f)
	}
	return list, nil
}

// generate runs a plugin: a request on its standard input, the files in its answer.
func generate(ctx context.Context, tool string, request *pluginpb.CodeGeneratorRequest) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	raw, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", tool)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go tool %s: %w", tool, err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out.Bytes(), &response); err != nil {
		return nil, fmt.Errorf("answer of %s: %w", tool, err)
	}
	if response.Error != nil {
		return nil, fmt.Errorf("%s: %w", tool, errors.New(response.GetError()))
	}
	return response.File, nil
}

// put writes a file, or reports that it is not what it should be.
func put(path, content string, check bool) error {
	if !check {
		return os.WriteFile(path, []byte(content), 0o644)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(old) != content {
		return fmt.Errorf("%s is not what its .proto file says: run make proto", path)
	}
	return nil
}
